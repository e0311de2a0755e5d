"""What the scenarios are made of: certificates, a broker, the daemon, MQTT clients, numbered streams."""
