"""What makes a run faster, longer or wider: speed-ups, checkpoints, several GPUs, the machine's limits, runs on disk.

The rooms below do not know this one; a config names speed-ups, and the loop lets them wrap its step.
"""
