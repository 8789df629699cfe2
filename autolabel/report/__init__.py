"""What is known of a project as one HTML file."""
