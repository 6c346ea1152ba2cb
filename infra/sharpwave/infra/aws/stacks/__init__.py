"""The stacks, written with AWS's CDK; what they are told comes as values, never as a profile.

They know each other by names alone. What only AWS can name, such as a stream, is exported under a
name too, so each template can be deployed and changed by itself.
"""
