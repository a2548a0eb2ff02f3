#!/bin/sh
# What Slurm runs as a job: a command. It passes signals on, which Slurm sends to this shell, USR1 as URG: on USR1 Node opens a
# debugger until it listens itself. It starts the job again where the command asks for it by exit code 75. Only then: a job that is
# cancelled must not come back.
"$@" &
work=$!
# A command that has only just begun does not hear yet, and so is told until it has ended.
trap '(while kill -URG "$work" 2>/dev/null; do sleep 5; done) &' USR1
trap 'kill -TERM "$work" 2>/dev/null' TERM
wait "$work"
code=$?
# A signal ends a wait before the command has ended.
while [ "$code" -gt 128 ] && kill -0 "$work" 2>/dev/null; do
  wait "$work"
  code=$?
done
wait "$work" 2>/dev/null
last=$?
[ "$last" -eq 127 ] || code=$last
if [ "$code" -eq 75 ] && scontrol requeue "$SLURM_JOB_ID"; then
  # Slurm ends this start.
  sleep 120
fi
exit "$code"
