"""What users pass in, checked before any kernel runs."""
