"""Changes one step of a customer's sequence at a sales-engagement provider, behind one gRPC call."""
