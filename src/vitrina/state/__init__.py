"""Online state: the durable event log, shoppers' histories, cached user vectors."""
