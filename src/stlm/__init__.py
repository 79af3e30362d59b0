"""stlm: the open workbench for super tiny language models."""
