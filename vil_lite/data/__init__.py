"""Data that needs no account: `digits` (from scikit-learn), `fashion` (Fashion-MNIST), `scenes32` and `airfield` (drawn here)."""
