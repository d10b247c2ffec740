"""Data that needs no account and no download: `digits` (real, from scikit-learn) and `airfield` (drawn here)."""
