"""Sound into the program: files, clips named by manifests, the microphone."""
