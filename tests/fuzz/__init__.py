"""Property tests over whole commands: odd calls, damaged checkpoints, odd texts. ``watch`` runs a command and finds its faults.
"""
