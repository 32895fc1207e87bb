"""What the user asked for: dataset files and the environment."""
