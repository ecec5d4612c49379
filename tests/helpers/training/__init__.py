"""Small trainings: images, settings, a teacher that knows the answer."""
