"""gantutor: how GANs train, in code that can be read and claims that can be run."""
