use std::sync::Arc;

use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::control::{MetricsPage, routes};
use crate::ports::{DeviceStore, LastState, PortError, Updates};
use crate::testing::fakes::{FakeSink, FakeSource, collector};
use crate::testing::world::World;
use crate::testing::{BASE, PlanBuilder, Sim, sink, source};
use crate::topology::Plan;

/// A store that has one device, with what is its topology's own.
struct Has(&'static str);

#[async_trait]
impl DeviceStore for Has {
    async fn last_state(&self, device: &DeviceId) -> Result<Option<LastState>, PortError> {
        let payload = Bytes::from(json!(self.0).to_string());
        Ok((device.as_str() == "d1").then_some(LastState { payload, timestamp: 7 }))
    }

    async fn history(&self, device: &DeviceId, _: u64, _: u64, _: usize) -> Result<Vec<Bytes>, PortError> {
        Ok((device.as_str() == "d1").then(|| Bytes::from(json!({ "of": self.0 }).to_string())).into_iter().collect())
    }

    async fn updates(&self, _: &DeviceId) -> Result<Updates, PortError> {
        Err(PortError("nobody asks".to_owned()))
    }
}

fn plan(name: &'static str, has: Option<&'static str>) -> Plan {
    let (written, feed) = (collector(), FakeSource::new());
    let dead = written.clone();
    PlanBuilder::new(World::new(1, 1).state.clone(), sink(move |_| Ok(FakeSink::writes(&dead))))
        .stage("source", &[], source(move |_| Ok(feed.build())))
        .stage(
            "store",
            &["source"],
            sink(move |cx| {
                if let Some(has) = has {
                    cx.ports.offer_device_store(Arc::new(Has(has)));
                }
                Ok(FakeSink::writes(&written))
            }),
        )
        .plan(|plan| plan.name = name.into())
        .build()
}

#[test]
fn a_device_is_shown_as_one_topology_knows_it() {
    Sim::run(BASE, async |sim| {
        let state = ControlState::new(MetricsPage::blank(), sim.clock.clone());
        let app = init_service(App::new().configure(|config| routes(config, &state))).await;
        let get = async |path: &str| {
            let response = call_service(&app, TestRequest::get().uri(path).to_request()).await;
            let status = response.status().as_u16();
            (status, serde_json::from_slice::<Value>(&read_body(response).await).unwrap())
        };
        let none = sim.deploy(plan("none", None)).await.unwrap();
        let a = sim.deploy(plan("a", Some("a"))).await.unwrap();
        let b = sim.deploy(plan("b", Some("b"))).await.unwrap();
        state.add(none.view());
        state.add(a.view());
        let (status, shown) = get("/api/v1/devices/d1").await;
        assert_eq!(
            (status, &shown["state"]["payload"], &shown["history"]),
            (200, &json!("a"), &json!([{ "of": "a" }]))
        );

        state.add(b.view());
        let (status, refused) = get("/api/v1/devices/d1").await;
        let detail = refused["detail"].as_str().unwrap();
        assert!(status == 400 && detail.contains("?topology=a, ?topology=b"), "{status} {refused}");
        let (status, shown) = get("/api/v1/devices/d1?topology=b").await;
        assert_eq!(
            (status, &shown["state"]["payload"], &shown["history"]),
            (200, &json!("b"), &json!([{ "of": "b" }]))
        );
        for unknown in ["/api/v1/devices/d2", "/api/v1/devices/d1?topology=none", "/api/v1/devices/d1?topology=c"] {
            assert_eq!(get(unknown).await.0, 404, "{unknown}");
        }
        for deployment in [none, a, b] {
            deployment.drain().await;
        }
    });
}
