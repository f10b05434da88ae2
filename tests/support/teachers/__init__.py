"""Real servers on real sockets that speak as vendors do: their own packages' types read requests and make replies."""
