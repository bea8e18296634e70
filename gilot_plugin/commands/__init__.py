"""Commands of ``gilot``, one module each: options, what is called, what is printed.

Whatever takes long to import is imported where a command runs, so that help comes at once.
"""
