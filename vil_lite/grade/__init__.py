"""Grade a class: `python -m vil_lite.grade ASSIGNMENT.toml SUBMISSIONS/ OUT/`.

Three kinds of process, from trusted to not:

    python -m vil_lite.grade   run.py      the list of submissions, results.jsonl, the reports.  Opens no notebook.
    one grader a submission    one.py      checks, references, the secret seed.  Runs nothing that a student wrote.
    one worker a notebook      worker.py   the student's functions, in a bubblewrap sandbox (sandbox.py).

Grader and worker exchange lines of JSON (wire.py, values.py): numbers, text, and tensors as dtype, shape and bytes.  The
check gets a stand-in for the student's function, so the same checks serve the notebook and the grade.  What to read first,
to audit it: sandbox.py (what the worker can reach), values.py (what the grader accepts), one.py (what earns points).
"""
