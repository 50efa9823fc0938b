"""Engine of data-free distillation: a source of pseudo images, its loss, a pool, and the student's training."""
