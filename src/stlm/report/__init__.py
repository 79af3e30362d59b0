"""HTML pages that show the results of a run and the scores of a model."""
