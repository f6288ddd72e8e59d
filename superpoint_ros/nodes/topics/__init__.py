"""Publishers and subscriptions: quality of service, calibration, pairs by stamp."""
