"""Data that needs no account and no download: `digits` (real, from scikit-learn), `scenes32` and `airfield` (drawn here)."""
