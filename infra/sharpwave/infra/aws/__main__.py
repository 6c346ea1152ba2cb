"""The app as CDK's own command line runs it: `cdk deploy --app "python -m sharpwave.infra.aws"`."""

from sharpwave.infra.aws.stacks.app import asked_for, build, new_app, reasons

app = new_app()
build(app, asked_for(app), reasons=reasons())
app.synth()
