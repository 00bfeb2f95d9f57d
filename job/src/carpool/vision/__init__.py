"""Models and what surrounds them: the handler contract, detectors, the tracker."""
