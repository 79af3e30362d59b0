"""The fair side-by-side: several runs under one question, at equal cost, over several seeds."""
