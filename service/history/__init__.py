"""What updates changed at providers, for a number of days: written before the provider is, shown and taken back later."""

from service.history.change_history import History
from service.history.history_administration import HistoryAdministration

__all__ = ["History", "HistoryAdministration"]
