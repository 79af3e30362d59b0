"""What was found, as a page to look at."""
