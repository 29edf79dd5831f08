"""`opq-tools sim history`: days of a simulated grid in minutes, into a store that the live system opens."""
