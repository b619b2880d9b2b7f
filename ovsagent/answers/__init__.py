"""What the agent answers guests at the host's door: pure functions from a question and a book's entry to the answer."""
