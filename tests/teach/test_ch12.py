"""Chapter 12: its references are right on paper."""

import numpy as np

from vil_lite.teach.checks import ch12


def test_the_references_on_paper():
    assert ch12.predicted_crossing((2, 1), (6, 0), 2, (8, 24)) == 10
    assert ch12.predicted_crossing((2, 1), (6, 0), 2, (8, 12)) == ch12.crossing((0, 2, 1), (0, 6, 0)) == 4
    tokens = np.array([1.0, 2.0, 3.0, 5.0])
    np.testing.assert_allclose(ch12.fit_cost(tokens, 1 + 2 * tokens + 3 * tokens**2), [1, 2, 3])
    assert ch12.intensity(1, 1, 1) == 2 * 4 / 6
