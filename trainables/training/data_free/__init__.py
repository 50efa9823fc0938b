"""The engine of data-free distillation: a source of images, its loss, a pool, and the student's optimization."""
