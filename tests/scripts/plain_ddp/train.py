"""Which side does each member of Zachary's karate club take? Plain DDP, as a tutorial has it: run it with torchrun."""

import argparse

import networkx
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--save", default="model.pt")
    args = parser.parse_args()

    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    club = networkx.karate_club_graph()
    friends = torch.tensor([[float(club.has_edge(a, b)) for b in club] for a in club])
    sides = torch.tensor([float(club.nodes[member]["club"] == "Officer") for member in club])

    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(len(club), 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for epoch in range(args.epochs):
        outputs = model(friends[rank::world]).squeeze(1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(outputs, sides[rank::world])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rank == 0 and epoch % 20 == 0:
            print(f"epoch {epoch}: loss {loss.item():.4f}", flush=True)

    if rank == 0:
        right = ((model.module(friends).squeeze(1) > 0) == (sides > 0.5)).float().mean().item()
        torch.save(model.module.state_dict(), args.save)
        print(f"right about {right:.0%} of the members, with {world} ranks", flush=True)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
