"""What the tests share: real servers, child processes, guards."""
