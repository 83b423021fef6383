"""Numbers of bytes."""

MEBIBYTE = 1024 * 1024
# What is reduced.
SMALL, MIDDLE, LARGE = 4, 64 * 1024, 16 * MEBIBYTE
# Between GPUs: less would not fill NVLink or InfiniBand.
HUGE = 256 * MEBIBYTE
