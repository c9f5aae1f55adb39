"""Folders of any size: `python -m mri_models analyze --out DIR FOLDER`.

walk     which files, lazily and in one order           journal  every answer, appended at once; what is done follows
crew     worker processes: crash, hang and restart      final    all answers by name, as JSON Lines or Parquet
worker   one process, one pipeline, one file at a time  cluster  the same crews as actors of Ray Data
run      all of it together, with a progress bar and a summary
"""
