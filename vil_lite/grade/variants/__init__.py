"""Exam variants, one module a chapter: the same skill, another convention.  Not part of what students get."""
