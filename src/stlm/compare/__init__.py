"""Fair comparisons: several runs that answer one question, at equal cost, with several seeds."""
