"""Who can talk to whom, known before anything is touched.

`report` says it for a whole fabric, `check_expectations` whether it is as the user expects,
`predictions` pair by pair, to be compared with the wire. All of them walk packets through the plan.
"""

from model.reachability.expectations import check_expectations
from model.reachability.predictions import Prediction, predictions
from model.reachability.report import Report, report

__all__ = ["Prediction", "Report", "check_expectations", "predictions", "report"]
