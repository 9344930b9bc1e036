#!/bin/sh
# Inside the Host VM: its own end of the network card, then the guest.
ifconfig eth0 10.0.9.1 netmask 255.255.255.0 up
exec deno run --no-check --allow-all vmm/cli.ts assigned --kernel "$VSMMU_GUEST_KERNEL" \
  --result "$VSMMU_OUT/result.json" --record "$VSMMU_OUT/trace.jsonl.gz" "$@"
