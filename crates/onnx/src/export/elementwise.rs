//! Activations, those that opset 17 lacks in the form that engines recognise and fuse.

use std::f32::consts::{FRAC_2_PI, SQRT_2};

use slicewise_graph::{Activation, Node};

use super::{Exporter, float};
use crate::OnnxError;

impl Exporter<'_> {
    pub(super) fn activation(&mut self, node: &Node, f: Activation) -> Result<(), OnnxError> {
        let x = self.value(node.inputs[0])?;
        let one = |this: &mut Self, op: &str, attributes| {
            this.emit(op, &[&x], &node.name, attributes);
        };
        match f {
            Activation::Relu => one(self, "Relu", vec![]),
            Activation::Relu6 => self.clip(node, &x, 0.0, 6.0),
            Activation::LeakyRelu { slope } => one(self, "LeakyRelu", vec![float("alpha", slope)]),
            Activation::HardSwish => one(self, "HardSwish", vec![]),
            Activation::HardSigmoid => {
                let attributes = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
                one(self, "HardSigmoid", attributes);
            }
            Activation::Sigmoid => one(self, "Sigmoid", vec![]),
            Activation::Silu => {
                let gate = self.step(node, "sigmoid", "Sigmoid", &[&x], vec![]);
                self.emit("Mul", &[&x, &gate], &node.name, vec![]);
            }
            Activation::GeluErf => self.gelu_erf(node, &x),
            Activation::GeluTanh => self.gelu_tanh(node, &x),
            Activation::Tanh => one(self, "Tanh", vec![]),
            Activation::Sqrt => one(self, "Sqrt", vec![]),
            Activation::Clip { low, high } => self.clip(node, &x, low, high),
        }
        Ok(())
    }

    fn clip(&mut self, node: &Node, x: &str, low: f32, high: f32) {
        let low = self.scalar(node, "low", low);
        let high = self.scalar(node, "high", high);
        self.emit("Clip", &[x, &low, &high], &node.name, vec![]);
    }

    /// `x · (1 + erf(x/√2)) · ½`
    fn gelu_erf(&mut self, node: &Node, x: &str) {
        let root = self.scalar(node, "sqrt_2", SQRT_2);
        let one = self.scalar(node, "one", 1.0);
        let half = self.scalar(node, "half", 0.5);
        let scaled = self.step(node, "scaled", "Div", &[x, &root], vec![]);
        let erf = self.step(node, "erf", "Erf", &[&scaled], vec![]);
        let sum = self.step(node, "sum", "Add", &[&erf, &one], vec![]);
        let product = self.step(node, "product", "Mul", &[x, &sum], vec![]);
        self.emit("Mul", &[&product, &half], &node.name, vec![]);
    }

    /// `½x · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`
    fn gelu_tanh(&mut self, node: &Node, x: &str) {
        let three = self.scalar(node, "three", 3.0);
        let share = self.scalar(node, "share", 0.044715);
        let root = self.scalar(node, "sqrt_2_over_pi", FRAC_2_PI.sqrt());
        let one = self.scalar(node, "one", 1.0);
        let half = self.scalar(node, "half", 0.5);
        let cube = self.step(node, "cube", "Pow", &[x, &three], vec![]);
        let cube = self.step(node, "cube_share", "Mul", &[&cube, &share], vec![]);
        let sum = self.step(node, "sum", "Add", &[x, &cube], vec![]);
        let scaled = self.step(node, "scaled", "Mul", &[&sum, &root], vec![]);
        let tanh = self.step(node, "tanh", "Tanh", &[&scaled], vec![]);
        let gate = self.step(node, "gate", "Add", &[&tanh, &one], vec![]);
        let halved = self.step(node, "halved", "Mul", &[x, &half], vec![]);
        self.emit("Mul", &[&halved, &gate], &node.name, vec![]);
    }
}
