"""Subscriptions: quality of service, calibration, pairs by stamp."""
