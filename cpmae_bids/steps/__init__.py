"""The steps of the pipeline: files in, files out, each callable as a function or as a process of its own.

A step is a module with ``add_arguments(parser)`` and ``main(args)``, besides the function that does the work.
"""
