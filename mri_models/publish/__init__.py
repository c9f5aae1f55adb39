"""The model folders and the Space to the Hugging Face Hub: `python -m mri_models publish`.

plan       which files would go where; no network, no token
weights    the model repository: verified folders and a root card
space      the Space: code, pinned requirements, front matter, examples
examples   images of a corpus that may be shown again, with credit
checkout   the git checkout that all of it comes from
push       sends what differs from what the Hub has
commands   the command line
"""
