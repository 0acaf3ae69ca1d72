"""The registry. All SQL of the product is in this package; frames go in and come back."""
