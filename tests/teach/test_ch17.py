"""Chapter 17: its record has what the page tells."""

from vil_lite import teach


def test_the_record_has_what_the_page_tells():
    """Every format of both models at both sizes, as positive times."""
    figures = teach.result("ch17_latency")["figures"]["milliseconds"]
    assert set(figures) == {"320", "640"}
    for models in figures.values():
        assert set(models) == {"yolov8n", "yolov8n-vil"}
        for kinds in models.values():
            assert len(kinds) == 8 and all(ms > 0 for ms in kinds.values())
