"""Golden schedules, denoiser wrappers and 20-step trajectories for test/diffusion/.

Witnesses: diffusers 0.42.1, k-diffusion 0.1.1.post1 (sampling.py, external.py), torchsde 0.2.6, torch 2.13.0+cpu, and the
schedule functions of AUTOMATIC1111/stable-diffusion-webui, modules/sd_schedulers.py at 02b0092d5a8450b282bd7d9c2d84fdfed0f3c6db.
Seed 0. The first argument is a folder that holds the unpacked packages k_diffusion, torchsde and trampoline; k-diffusion's
own __init__ is not run (it wants its training dependencies). Run from the repository's root:
    python test/golden/samplers.py PATH/TO/PACKAGES PATH/TO/sd_schedulers.py
Writes test/golden/data/diffusion/{trajectories.safetensors,trajectories.json,schedules.json,brownian.safetensors}.
"""
import importlib
import json
import math
import sys
import types
from pathlib import Path

import diffusers
import numpy as np
import torch
from safetensors.torch import save_file

packages, a1111_path = sys.argv[1:3]
out = Path(__file__).parent / "data" / "diffusion"
out.mkdir(parents=True, exist_ok=True)
sys.path.insert(0, packages)
k_package = types.ModuleType("k_diffusion")
k_package.__path__ = [str(Path(packages) / "k_diffusion")]
sys.modules["k_diffusion"] = k_package
sys.modules["torchdiffeq"] = types.SimpleNamespace(odeint=None)
sys.modules["k_diffusion.utils"] = types.SimpleNamespace(append_dims=lambda x, n: x[(...,) + (None,) * (n - x.ndim)])
k_package.utils = sys.modules["k_diffusion.utils"]
k = importlib.import_module("k_diffusion.sampling")
external = importlib.import_module("k_diffusion.external")

STEPS = 20
SHAPE = (2, 2, 4, 4)
betas64 = np.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=np.float64) ** 2
alphas64 = np.cumprod(1 - betas64)
sigmas64 = np.sqrt((1 - alphas64) / alphas64)

# ---- the toy model: exact denoiser of a mixture of four Gaussians of deviation 0.3 -----------------------------------
torch.manual_seed(0)
means = torch.randn(4, *SHAPE[1:])
noise = torch.randn(2 * STEPS, *SHAPE)  # fresh noise, taken in order
start = torch.randn(SHAPE)
tensors = {"means": means, "noise": noise, "start": start}
cases = {}


def denoise(x, sigma):
    """D(x, sigma) in float64, returned in float32."""
    x, sigma, variance = x.double(), float(torch.as_tensor(sigma).flatten()[0]), 0.3**2
    m = means.double()
    logits = -((x[:, None] - m[None]) ** 2).flatten(2).sum(2) / (2 * (variance + sigma**2))
    weights = logits.softmax(1)[..., None, None, None]
    return ((weights * m).sum(1) * sigma**2 + x * variance).div(variance + sigma**2).float()


def epsilon(scaled, sigma):
    x = scaled.double() * math.sqrt(sigma**2 + 1)
    return ((x - denoise(x, sigma)) / sigma).float()


def velocity(scaled, sigma):
    root = math.sqrt(sigma**2 + 1)
    x0 = denoise(scaled.double() * root, sigma).double()
    return ((scaled.double() - root * x0) / sigma).float()


class Fresh:
    """Hands out the shared noise in order, under every signature the witnesses call."""

    def __init__(self):
        self.index = 0

    def __call__(self, *_args, **_kwargs):
        self.index += 1
        return noise[self.index - 1]


def record(name, sampler, sigmas, xs, options=None, **more):
    """xs: state after each step in x0 + sigma * noise units. The denoiser is `denoise` unless `more` says otherwise."""
    tensors[name] = torch.stack([x.float() for x in xs]).contiguous()
    cases[name] = {"sampler": sampler, "sigmas": [float(s) for s in sigmas], "options": options or {}, **more}


# ---- k-diffusion ----------------------------------------------------------------------------------------------------
model = external.DiscreteEpsDDPMDenoiser(None, torch.tensor(alphas64), quantize=False)
karras = k.get_sigmas_karras(STEPS, float(sigmas64[0]), float(sigmas64[-1]))
normal = model.get_sigmas(STEPS).float()


def k_run(name, sampler, function, sigmas, options=None, **k_options):
    xs, fresh, original = [], Fresh(), torch.randn_like
    torch.randn_like = fresh
    try:
        final = function(
            denoise, start * sigmas[0], sigmas, disable=True, callback=lambda step: xs.append(step["x"]), **k_options
        )
    finally:
        torch.randn_like = original
    # k-diffusion reports the state after churning, so a churned run keeps its end alone.
    record(name, sampler, sigmas, [final] if "s_churn" in k_options else xs[1:] + [final], options)


k_run("k/euler", "euler", k.sample_euler, normal)
churned = {"s_churn": 10.0, "s_tmin": 0.1, "s_tmax": 10.0, "s_noise": 1.003}
churn_options = {"sChurn": 10.0, "sTmin": 0.1, "sTmax": 10.0, "sNoise": 1.003}
k_run("k/euler churned", "euler", k.sample_euler, karras, churn_options, **churned)
k_run("k/heun", "heun", k.sample_heun, karras)
k_run("k/heun churned", "heun", k.sample_heun, karras, churn_options, **churned)
k_run("k/euler-a", "euler-a", k.sample_euler_ancestral, normal, noise_sampler=Fresh())
k_run("k/euler-a half", "euler-a", k.sample_euler_ancestral, karras, {"eta": 0.5, "sNoise": 0.9}, eta=0.5, s_noise=0.9, noise_sampler=Fresh())
k_run("k/dpmpp-2m karras", "dpmpp-2m", k.sample_dpmpp_2m, karras)
k_run("k/dpmpp-2m normal", "dpmpp-2m", k.sample_dpmpp_2m, normal)
k_run("k/dpmpp-2m-sde", "dpmpp-2m-sde", k.sample_dpmpp_2m_sde, karras, noise_sampler=Fresh())
k_run("k/dpmpp-2m-sde half", "dpmpp-2m-sde", k.sample_dpmpp_2m_sde, normal, {"eta": 0.5, "sNoise": 0.9}, eta=0.5, s_noise=0.9, noise_sampler=Fresh())
k_run("k/dpmpp-2m-sde ode", "dpmpp-2m-sde", k.sample_dpmpp_2m_sde, karras, {"eta": 0}, eta=0.0, noise_sampler=Fresh())
k_run("k/dpmpp-sde", "dpmpp-sde", k.sample_dpmpp_sde, karras, noise_sampler=Fresh())
k_run("k/dpmpp-sde half", "dpmpp-sde", k.sample_dpmpp_sde, normal, {"eta": 0.5, "sNoise": 0.9}, eta=0.5, s_noise=0.9, noise_sampler=Fresh())

# ---- diffusers: variance-preserving states, brought to x0 + sigma * noise by sqrt(sigma^2 + 1) -----------------------
base = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def inject(scheduler, fresh):
    """Replaces the module's randn_tensor, through which every diffusers scheduler draws."""
    sys.modules[type(scheduler).__module__].randn_tensor = fresh


def d_run(name, sampler, scheduler, network=epsilon, options=None, steps=STEPS, step_options=None, **more):
    inject(scheduler, Fresh())
    if isinstance(scheduler, diffusers.LCMScheduler):
        scheduler.set_timesteps(steps, original_inference_steps=50)
    else:
        scheduler.set_timesteps(steps)
    if hasattr(scheduler, "sigmas"):
        sigmas = [float(s) for s in scheduler.sigmas]
    else:
        bars = scheduler.alphas_cumprod.double()
        sigmas = [float(((1 - bars[t]) / bars[t]).sqrt()) for t in scheduler.timesteps] + [0.0]
    scales_input = isinstance(scheduler, diffusers.EulerDiscreteScheduler)  # keeps x0 + sigma * noise itself
    to_vp = lambda sigma: 1.0 if scales_input else 1 / math.sqrt(sigma**2 + 1)
    x, xs = (start.double() * sigmas[0] * to_vp(sigmas[0])).float(), []
    for i, t in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(x, t)
        x = scheduler.step(network(scaled, sigmas[i]), t, x, **(step_options or {})).prev_sample
        xs.append(x.double() / to_vp(sigmas[i + 1]))
    record(name, sampler, sigmas, xs, options, **more)


plain = {"clip_sample": False, "timestep_spacing": "trailing"}
for eta in (0.0, 0.5, 1.0):
    d_run(f"d/ddim eta {eta}", "ddim", diffusers.DDIMScheduler(**base, **plain), options={"eta": eta}, step_options={"eta": eta})
d_run("d/ddpm", "ddpm", diffusers.DDPMScheduler(**base, **plain))
d_run("d/unipc", "unipc", diffusers.UniPCMultistepScheduler(**base))
d_run("d/unipc karras", "unipc", diffusers.UniPCMultistepScheduler(**base, use_karras_sigmas=True))
d_run("d/euler", "euler", diffusers.EulerDiscreteScheduler(**base))
d_run("d/dpmpp-2m", "dpmpp-2m", diffusers.DPMSolverMultistepScheduler(**base, use_karras_sigmas=True, final_sigmas_type="zero"))
for steps in (4, STEPS):
    d_run(f"d/lcm {steps}", "lcm", diffusers.LCMScheduler(**base, clip_sample=False), steps=steps, network_kind="consistency")
v_zero = {**base, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
d_run("d/euler v zero-snr", "euler", diffusers.EulerDiscreteScheduler(**v_zero), velocity, network_kind="velocity zero-snr")
v_plain = {**base, "prediction_type": "v_prediction"}
d_run("d/ddim v", "ddim", diffusers.DDIMScheduler(**v_plain, **plain), velocity, options={"eta": 0}, network_kind="velocity")
d_run("d/unipc eps", "unipc", diffusers.UniPCMultistepScheduler(**base, timestep_spacing="trailing"), network_kind="epsilon")
save_file(tensors, out / "trajectories.safetensors")

# ---- schedules, in float64 where the witness allows it --------------------------------------------------------------
torch.set_default_dtype(torch.float64)
shared = types.SimpleNamespace(opts=types.SimpleNamespace(beta_dist_alpha=0.6, beta_dist_beta=0.6))
sys.modules["modules"] = types.SimpleNamespace(shared=shared)
a1111 = {}
exec(compile(Path(a1111_path).read_text(), "sd_schedulers.py", "exec"), a1111)
schedules = {"sampling": [], "training": [], "wrappers": [], "strength": []}
low, high = float(sigmas64[0]), float(sigmas64[-1])
for steps in (1, 2, 7, 20, 50):
    values = {
        "normal": model.get_sigmas(steps),
        "karras": k.get_sigmas_karras(steps, low, high),
        "exponential": k.get_sigmas_exponential(steps, low, high),
        "sgm-uniform": a1111["sgm_uniform"](steps, low, high, model, "cpu"),
        "simple": a1111["simple_scheduler"](steps, low, high, model, "cpu"),
        "beta": a1111["beta_scheduler"](steps, low, high, model, "cpu"),
    }
    for name, sigmas in values.items():
        schedules["sampling"].append({"name": name, "steps": steps, "sigmas": [float(s) for s in sigmas]})
torch.set_default_dtype(torch.float32)
for kind in ("linear", "scaled_linear", "squaredcos_cap_v2"):
    for zero in (False, True):
        # Euler is the diffusers scheduler that sets the last alpha_bar to 2^-24.
        s = diffusers.EulerDiscreteScheduler(**{**base, "beta_schedule": kind}, rescale_betas_zero_snr=zero)
        at = list(range(0, 1000, 37)) + [997, 998, 999]
        schedules["training"].append(
            {"betaSchedule": kind, "zeroSnr": zero, "at": at, "alphaBar": [float(s.alphas_cumprod[t]) for t in at]}
        )

# ---- denoiser wrappers: network(x, t) = sin(1.3 x + 0.01 t), one element at a time -----------------------------------
probe = [-2.5, -0.3, 0.0, 0.8, 3.0]
for kind, wrapper in (("epsilon", external.DiscreteEpsDDPMDenoiser), ("v_prediction", external.DiscreteVDDPMDenoiser)):
    net = lambda x, t: torch.sin(1.3 * x + 0.01 * t.view(-1, 1))
    wrapped = wrapper(net, torch.tensor(alphas64), quantize=False)
    for sigma in (0.01, float(sigmas64[0]), 0.5, 1.0, 3.7, float(sigmas64[500]), float(sigmas64[-1]), 20.0):
        x = torch.tensor([probe], dtype=torch.float64) * max(sigma, 1)
        t = wrapped.sigma_to_t(torch.tensor([sigma], dtype=torch.float64))
        y = wrapped(x, torch.tensor([sigma], dtype=torch.float64))
        schedules["wrappers"].append(
            {"kind": kind, "sigma": sigma, "timestep": float(t), "x": x[0].tolist(), "denoised": y[0].tolist()}
        )
(out / "schedules.json").write_text(json.dumps(schedules) + "\n")

# ---- classifier-free guidance with rescale: diffusers' rescale_noise_cfg ---------------------------------------------
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg  # noqa: E402

mixed = means[2:4] + 7.5 * (means[:2] - means[2:4])  # conditional: means[:2], unconditional: means[2:4]
guidance = {"scale 7.5": mixed}
for phi in (0.3, 0.7, 1.0):
    guidance[f"scale 7.5, rescale {phi}"] = rescale_noise_cfg(mixed, means[:2], phi)
save_file(guidance, out / "guidance.safetensors")

# ---- Brownian tree of k-diffusion (torchsde), one seed per image, over the Karras levels ------------------------------
brownian, pairs = {}, []
tree = k.BrownianTreeNoiseSampler(torch.zeros(2, 1, 4, 6), karras[karras > 0].min(), karras.max(), seed=[42, 2**40 + 7])
for i in range(STEPS - 1):
    middle = (karras[i] * karras[i + 1]).sqrt()
    for a, b in ((karras[i], middle), (karras[i], karras[i + 1])):
        brownian[f"{len(pairs)}"] = tree(a, b).contiguous()
        pairs.append([float(a), float(b)])
save_file(brownian, out / "brownian.safetensors")
(out / "trajectories.json").write_text(json.dumps({"cases": cases, "brownian": pairs}) + "\n")
