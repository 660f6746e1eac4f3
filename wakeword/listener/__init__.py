"""A detector that is left running: on a microphone, for Wyoming clients, in a web page; and what it keeps."""
