"""What must hold for any input, and in any order of events."""
