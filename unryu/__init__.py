"""The ground floor: what every service stands on, and the `unryu` command. No noun of the cloud lives here."""
