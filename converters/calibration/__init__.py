"""Calibration data in, value ranges out."""
