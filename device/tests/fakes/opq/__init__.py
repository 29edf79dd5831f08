"""The C modules, faked: state that a case sets, and what the app asked of them."""
