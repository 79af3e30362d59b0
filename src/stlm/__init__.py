"""stlm: the open workbench for super tiny language models."""

from stlm import waiting

waiting.choose()
