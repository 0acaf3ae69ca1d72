"""Telling people what happened: what is worth telling, once, and through which channels."""
