"""Names of what jobs leave in their work folders: to go on from, and for `status`, which looks while they run."""

PROGRESS = "progress.json"  # how far the job is
COMPLETIONS = "completions.jsonl"  # a journal of generated texts
LABEL = "label.txt"  # of a job that scores: what stands before the number in its texts
CHECKPOINTS = "checkpoints"  # a folder, of a training
WHOLE = "whole-"  # a complete checkpoint is called so, with the number of its step
